"""Looking: which calls make one picture of a cluster, and how old each part of it is."""
