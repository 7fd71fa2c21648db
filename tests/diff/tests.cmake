saediff_test(diff diff NP 1 2 3 4)
saediff_test(diff paired NP 1 2 3 4)
saediff_test(diff match NP 1 2 3 4)
saediff_test(diff null NP 1)
