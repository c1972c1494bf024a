def allocation_figure(result): return None
