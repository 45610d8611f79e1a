"""Carries out plans: looks again, writes the intent, calls PVE, and tells by observation how every move ended."""
