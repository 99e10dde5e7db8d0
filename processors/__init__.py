"""Consumer groups over the log: who is this, who may join, what the application says, what is kept."""
