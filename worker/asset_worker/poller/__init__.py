"""Take what is due, look at it, decide, then defer or settle.

The law of this layer: what follows from a look is decided by pure functions and values (`decide`, `deadlines`,
`list_health`, `per_asset_refusals`, `lateness`), which never wait, read a clock or log. `loop`, `looks`, `batching` and
`actions` do what these decide. Only a retrieve settles an asset; what a list shows is confirmed first. A failure of the
network, the gateway, the limits or the key says nothing about an asset.
"""
