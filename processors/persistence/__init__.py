"""What is kept: every entry of the log, once, in SQL."""
