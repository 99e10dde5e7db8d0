"""What an outbound entry means and where it leads. Pure: entries and replies in, plans and deliveries out."""
