saediff_test(eval summary)
saediff_test(eval file)
saediff_test(eval decoder NP 4)
