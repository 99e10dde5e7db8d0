"""Who is this: asks the application about the tokens that clients send."""
