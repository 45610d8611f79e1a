"""When moves run: a fluid model of the network, the order that fills it best, and what that takes. Used by `decide.order`."""
