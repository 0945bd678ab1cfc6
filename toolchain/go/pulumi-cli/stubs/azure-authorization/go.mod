module github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/authorization/armauthorization/v3

go 1.26.6
