# saediff_fuzz(ROOM NAME): fuzz/NAME.c defines LLVMFuzzerTestOneInput and links the room. Always built into a test that runs the cases kept
# in fuzz/corpus/NAME, whole and cut short; with -DSAEDIFF_FUZZ=ON (clang) also into the fuzzer fuzz_NAME:
#   build/tests/fuzz_NAME tests/fuzz/corpus/NAME -max_total_time=600
function(saediff_fuzz room name)
  add_executable(test_fuzz_${name} fuzz/${name}.c fuzz/cases.c)
  target_include_directories(test_fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(test_fuzz_${name} PRIVATE saediff_${room})
  add_test(NAME fuzz.${name} COMMAND test_fuzz_${name} ${CMAKE_CURRENT_SOURCE_DIR}/fuzz/corpus/${name})
  set_tests_properties(fuzz.${name} PROPERTIES TIMEOUT 120 ENVIRONMENT "${SAEDIFF_TEST_ENV}")
  if(SAEDIFF_FUZZ)
    add_executable(fuzz_${name} fuzz/${name}.c)
    target_include_directories(fuzz_${name} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
    target_link_libraries(fuzz_${name} PRIVATE saediff_${room})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
  endif()
endfunction()

saediff_fuzz(text dataset_json)
saediff_fuzz(text dataset_csv)
saediff_fuzz(text dataset_parquet)
saediff_fuzz(text tokenizer)
