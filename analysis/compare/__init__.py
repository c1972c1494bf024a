"""Families of architectures side by side: whose loss is lower at equal compute, and what makes up for the gap."""
