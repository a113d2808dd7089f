"""Inputs that a peer would not send by chance, and the rules that must hold for each of them."""
