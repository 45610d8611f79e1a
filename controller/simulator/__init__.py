"""A Proxmox VE cluster in memory that speaks PVE's own JSON.

Used by `drover simulate`, the demo, stories and what-if; it knows none of Drover's types, so that Drover's decoder and
error table are tested and not believed.
"""
