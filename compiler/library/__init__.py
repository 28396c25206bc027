"""The parts of the language as graphs, written with a Builder."""
