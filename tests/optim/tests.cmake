saediff_test(optim schedule)
saediff_test(optim adam F64)
