/* A library by the name of NVIDIA's driver that finds no GPU: what lets the module be loaded where there is none. */
int cuInit(unsigned flags);

int cuInit(unsigned flags)
{
    return flags == 0 ? 100 : 1; /* CUDA_ERROR_NO_DEVICE */
}
