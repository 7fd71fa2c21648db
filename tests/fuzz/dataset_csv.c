#include "fuzz/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_dataset(data, size, "csv", "{text}{id}");
    fuzz_dataset(data, size, "tsv", "text");
    fuzz_dataset(data, size, "text", "");
    return 0;
}
