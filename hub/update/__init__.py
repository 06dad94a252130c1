"""How a hub gets other software: found, fetched, proved, installed beside what runs, tried, and kept or given back."""
