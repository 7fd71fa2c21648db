foreach(name site forward taps pack data bad)
  saediff_test(model ${name})
endforeach()
