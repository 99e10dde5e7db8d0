"""What the application says: forwards messages and connection events, and publishes its answers."""
