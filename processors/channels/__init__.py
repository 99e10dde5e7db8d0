"""Who may join and publish: subscriptions, whispers and datagrams."""
