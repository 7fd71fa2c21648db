saediff_test(flow order)
saediff_test(flow source NP 1 3)
