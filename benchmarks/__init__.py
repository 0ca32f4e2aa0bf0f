"""What Yuefu's verse is measured against, and by what figures."""
