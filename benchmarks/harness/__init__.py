"""What every benchmark needs: a server of its own, processes beside this one, repeated rounds, a report."""
