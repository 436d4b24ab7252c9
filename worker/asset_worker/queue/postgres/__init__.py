"""The queue engine past one machine: several workers share one queue in PostgreSQL."""
