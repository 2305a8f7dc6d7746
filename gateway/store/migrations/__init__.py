"""How a database of any earlier version becomes one of this version: the steps are in `versions/`, in order."""
