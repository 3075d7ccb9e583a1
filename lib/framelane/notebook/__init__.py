"""What a notebook shows: host, picker, plan, dashboard, gallery, and the foreground loop that runs them."""
