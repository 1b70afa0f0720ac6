"""`holoprop tune`: its arguments, its faults, and what is drawn on the terminal."""


