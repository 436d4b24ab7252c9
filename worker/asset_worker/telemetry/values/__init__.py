"""The values of the snapshot, by what they are about, each declared once: where it is read, and what it means."""
