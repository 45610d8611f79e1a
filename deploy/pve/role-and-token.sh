#!/bin/sh
# Gives Drover a user, a token and a role in a Proxmox VE cluster, version 8 or 9. Run it once, as root, on any node.
#
# These are the lines that `drover rights` prints. The role lets Drover look at everything and migrate guests, and empty their
# CD drives for that; it can't start, stop or delete anything, or change anything else. The token's rights are separate from its user's, so both get the role.
set -eu

pveum user add 'drover@pve' --comment 'Drover'
# Prints the secret, this once: it goes into /etc/drover/lab.token on the machine that Drover runs on.
pveum user token add 'drover@pve' 'main' --privsep 1

pveum role add DroverController --privs 'Sys.Audit,VM.Audit,VM.Migrate,Datastore.Audit,Pool.Audit,Mapping.Audit,SDN.Audit,VM.Config.CDROM' || pveum role modify DroverController --append 1 --privs 'Sys.Audit,VM.Audit,VM.Migrate,Datastore.Audit,Pool.Audit,Mapping.Audit,SDN.Audit,VM.Config.CDROM'
pveum acl modify / --users 'drover@pve' --roles DroverController
pveum acl modify / --tokens 'drover@pve!main' --roles DroverController
