saediff_test(par split)
saediff_test(par vote NP 1 2 3 4)
saediff_test(par message NP 1 2 3 4)
saediff_test(par tree NP 1 2 3 4 8)
