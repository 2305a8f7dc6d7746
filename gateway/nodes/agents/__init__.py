"""Nodes that dial the gateway: how they join (R33), how they stay reachable, how sessions run on them."""
