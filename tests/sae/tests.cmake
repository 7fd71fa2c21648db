saediff_test(sae step_reference)
saediff_test(sae step_reference F64)
