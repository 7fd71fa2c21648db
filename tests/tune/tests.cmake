saediff_test(tune steps NP 1 2 3 4)
saediff_test(tune steps F64)
saediff_test(tune lessons NP 1 3)
