"""What happened, once more: printed, filed, appended again, or decided again by the code that is checked out."""
