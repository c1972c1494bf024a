def rate_surface_figure(result): return None
