"""Reading a .pt as data: where its pickle lies, and what it says, with nothing of it executed."""
