"""What people and machines get to see: conditions, objects, events, metrics, logs, HTTP. Changes nothing in any cluster."""
