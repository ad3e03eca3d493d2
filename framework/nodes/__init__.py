"""Objects: Variables, the nodes that hold them, and walks over their graphs."""
