"""Where products keep data: SQL, objects, log files. Each store finds, acts and verifies; none decides."""
