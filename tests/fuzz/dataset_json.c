#include "fuzz/dataset.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    fuzz_dataset(data, size, "json", "{text}{a.0.b}");
    fuzz_dataset(data, size, "jsonl", "text");
    return 0;
}
