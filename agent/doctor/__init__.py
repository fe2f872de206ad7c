"""What could keep an agent from working, looked at one after the other, each with its remedy."""
