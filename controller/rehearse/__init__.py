"""The real loop on a simulated stage: stories for tests, what-if for people, and the demo."""
