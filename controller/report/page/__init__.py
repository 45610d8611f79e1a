"""The status page that people leave open: rendered here, kept up to date in the browser. Served by `report.http`."""
