"""The poller: takes assets that are due, looks at them, decides what follows, and defers or settles them.

The law of this layer: all decisions are made by pure functions and values (`decide`, `deadlines`, `list_suspension`,
`per_asset_refusals`, `lateness`), which never wait, read a clock or log. `loop`, `looks`, `batching` and `actions` do
what these decide. Only a retrieve settles an asset; what a list shows is confirmed first. A failure of the network, the
gateway, the limits or the key says nothing about an asset.
"""
