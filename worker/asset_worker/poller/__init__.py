"""The poller: takes assets that are due, looks at them, decides what follows, and defers or settles them.

The law of this layer: all decisions are made by pure functions and values (`decide`, `evidence`, `deadlines`,
`list_health`, `list_lag`, `list_suspension`, `per_asset_refusals`, `lateness`), which never wait, read a clock or log.
`loop`, `looks`, `batching`, `confirmations` and `actions` do what these decide. A retrieve is evidence; what a list
shows is evidence as far as it has proved right. A failure of the network, the gateway, the limits or the key says
nothing about an asset, nor about lists.
"""
