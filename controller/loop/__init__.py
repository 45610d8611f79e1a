"""The loop: `tick` is one walk along the line, `daemon` repeats it for every cluster, `requeue` says when."""
