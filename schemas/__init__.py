"""What travels through Headgate: entries, events, frames, topics, keys, codes and signatures. Pure; no I/O."""
