#include "jobmanager/io/daemon.h"

int main(int argc, char **argv)
{
    return weir_jobmanager_main(argc, argv);
}
