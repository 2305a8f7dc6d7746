"""The agent on nodes: dials the gateway and runs the sessions that it orders. Knows the contract only."""
