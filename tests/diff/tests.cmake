saediff_test(diff diff NP 1 2 3 4)
