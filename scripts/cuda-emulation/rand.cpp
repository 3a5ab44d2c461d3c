// The functions of cuRAND that the tensor library calls when it opens a card. This project draws nothing there, and a function
// that would is missing: a program that calls one does not start.
extern "C" {

int curandCreateGenerator(void** generator, int) {
    *generator = nullptr;
    return 0;
}

int curandDestroyGenerator(void*) {
    return 0;
}

int curandSetPseudoRandomGeneratorSeed(void*, unsigned long long) {
    return 0;
}

int curandSetStream(void*, void*) {
    return 0;
}

}  // extern "C"
